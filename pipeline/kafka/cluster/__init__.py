"""Topics, groups and rights as the brokers have them.

`admin` has the requests (`topic_admin` those about topics, `group_admin` those about groups), `topics` compares them
with `topic_specs`; `topic_render` and `rights_render` print both for platform teams. `rights` and `start_checks` are
what a stage makes sure of, `lag`, `lag_reader`, `pace` and `losses` how far groups are, `members` who is in them,
`topic_identity` distinguishes a topic from another of its name, `topic_reader` reads one from outside of any group.
Open `admin` next.
"""
