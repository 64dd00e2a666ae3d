-- What a line's status is follows from its phase: a change of it holds the phase alone.
alter table zapline.line_changes drop column status;

comment on column zapline.attempts.epoch is
    'Of the unit when the call was claimed; null: nobody owned it. Evidence only: nothing is decided by it.';
comment on function zapline.owns is
    'Whether a unit belongs to this node since this epoch; null: that is not asked. It locks nothing: whoever must own '
    'the unit until his commit locks its row as well, or is fenced by what he changes.';
