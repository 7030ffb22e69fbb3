"""The exception tree of the whole project.

    PipelineError                      anything that this project raises on purpose
    ├── ConfigurationError             the operator must change something; the process stops, data waits
    │   ├── SettingsError              an environment variable or secret file is missing or malformed
    │   ├── RulesError                 the user's rules or code, which shape what is sent, cannot be used
    │   ├── TopicError                 a topic is missing, or differs from what the pipeline needs
    │   ├── BrokerUnreachableError     no broker answered, or the credentials were refused
    │   └── CredentialError            Customer.io or Dodo refused the key, or the workspace lives in another region
    │       └── RedirectedError        somebody on the way shows a page of its own, perhaps for a moment
    ├── InputError                     a file, argument or webhook that a person handed in cannot be used
    │   ├── UnreadableBodyError        the bytes are not a JSON object
    │   ├── OperationError             what was mapped cannot be a Customer.io operation
    │   │   └── OversizeError          it is larger than Customer.io takes
    │   ├── ShapingError               the user's rules or code cannot shape this webhook
    │   └── SignatureError             the webhook is forged, stale or unsigned
    │       └── StaleError             it is genuine, and its time is too far from this machine's clock
    ├── DeliveryError                  a produce or request did not succeed, nothing was acknowledged
    │   ├── RequestUnansweredError     no answer came; knows whether the request may have arrived
    │   ├── UnexpectedAnswerError      an API answered in a form that this version does not know
    │   │   └── RefusedRequestError    it does not take a parameter of ours
    │   ├── BrokenSequenceError        an idempotent partition can no longer be written by this producer
    │   └── RecordTooLargeError        a record that its topic cannot hold; nothing was sent
    ├── StateError                     what is known of customers cannot be read or kept; the process ends
    ├── ContractViolationError         a bug: an acknowledgement that would skip a record; the process ends
    ├── OutputError                    standard output cannot be written
    │   └── ClosedPipeError            its reader has closed it, as `| head` does
    └── ToolMissingError               Java, Maven or another program is not installed

Messages name what happened, to which setting or topic/partition/offset, and what to do. `exit_code` is what
the command line returns: 2 for what the caller must change, 1 for the rest (sysexits' spirit, two values), and 141
where its reader has gone; `dodo-cio --help` has the table.
"""

from __future__ import annotations

from typing import ClassVar


class PipelineError(Exception):
    """Anything that this project raises on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigurationError(PipelineError):
    """The operator must change something; the process stops and data waits where it is."""

    exit_code = 2


class SettingsError(ConfigurationError):
    """An environment variable or secret file is missing or malformed; its value is never repeated."""


class RulesError(ConfigurationError):
    """The user's rules or code, which shape what is sent, cannot be used: each fault with its file, line and column."""


class TopicError(ConfigurationError):
    """A topic is missing, or differs from what the pipeline needs."""


class BrokerUnreachableError(ConfigurationError):
    """No broker answered, or the credentials were refused; `may_pass` when a broker that comes back would mend it."""

    exit_code = 1
    may_pass = False


class CredentialError(ConfigurationError):
    """Customer.io or Dodo refused the key, or the workspace lives in another region."""


class RedirectedError(CredentialError):
    """Requests to Customer.io are redirected, and not to a host of Customer.io's: a proxy's page, as for a login."""


class InputError(PipelineError):
    """A file, argument or webhook that a person handed in cannot be used."""

    exit_code = 2


class UnreadableBodyError(InputError):
    """The bytes are not a JSON object; the message has the reason, without quoting them."""


class OperationError(InputError):
    """What was mapped cannot be a Customer.io operation; `field` is which part, the message never quotes it."""

    def __init__(self, message: str, *, field: str | None) -> None:
        super().__init__(message)
        self.field = field


class OversizeError(OperationError):
    """An operation is larger than Customer.io takes."""


class ShapingError(InputError):
    """A webhook that the user's rules or code cannot shape. The message never quotes a value of the body.

    `place` is where in the user's own file, the dead letter's `dlq-field`: `rules.yaml:12`, `payment.js:7`.
    """

    def __init__(self, message: str, *, place: str | None = None) -> None:
        super().__init__(message)
        self.place = place


class SignatureError(InputError):
    """The webhook is forged, stale or unsigned."""


class StaleError(SignatureError):
    """A genuine webhook whose time is too far from this machine's clock; `skew_s` is how far (below 0: older)."""

    def __init__(self, message: str, *, skew_s: float) -> None:
        super().__init__(message)
        self.skew_s = skew_s


class DeliveryError(PipelineError):
    """A produce or an HTTP request did not succeed; nothing was acknowledged."""


class RequestUnansweredError(DeliveryError):
    """No answer came. `sent` is False only when the request certainly did not leave: nothing can have arrived."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class UnexpectedAnswerError(DeliveryError):
    """An API answered in a form that this version does not know."""


class RefusedRequestError(UnexpectedAnswerError):
    """An API does not take a parameter of ours (HTTP 400 or 422)."""


class BrokenSequenceError(DeliveryError):
    """An idempotent partition can no longer be written by this producer."""


class RecordTooLargeError(DeliveryError):
    """A record is larger than its topic takes; it was refused before it was sent."""


class StateError(PipelineError):
    """What is known of customers cannot be read or kept here: the process ends, and the next one reads the topic."""


class ContractViolationError(PipelineError):
    """A bug of ours that would lose a record; the process ends and Kafka redelivers."""


class OutputError(PipelineError):
    """Standard output cannot be written: what was asked for is not there."""


class ClosedPipeError(OutputError):
    """The reader of standard output has closed it; the code is what a shell reports after SIGPIPE (128 + 13)."""

    exit_code = 141


class ToolMissingError(PipelineError):
    """A program that a developer command needs is not installed."""

    exit_code = 2
