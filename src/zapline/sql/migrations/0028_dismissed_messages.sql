-- Messages that failed wait for a person until they are sent anew, or a person leaves them alone. The policies and grants
-- of the outbox cover the column: the engine writes it, the API reads it in its own unit.
alter table zapline.outbox add column dismissed_at timestamptz;
create index outbox_failed on zapline.outbox (unit_id, ended_at)
    where state = 'dead' and campaign_id is null and dismissed_at is null and failure is distinct from 'given_up';
