-- Which process leads. Each taking of the lock raises the epoch: whoever writes or sends under an earlier one is refused,
-- however long its connections have been away.
create table zapline.leader (
    id       integer primary key default 1 check (id = 1),
    epoch    bigint not null,
    process  uuid,
    taken_at timestamptz not null default now()
);
grant select, insert, update on zapline.leader to zapline_engine;
alter table zapline.leader enable row level security;
alter table zapline.leader force row level security;
create policy engine on zapline.leader to zapline_engine using (true) with check (true);

-- Whether a unit's messages may be claimed: the caller leads still (its epoch; null: that is not checked), and this
-- database was not set back behind what the caller knows: how far the unit's journal is stored (0: not known), and the
-- fence of the last message that it has claimed (null: none). A row that is gone proves nothing.
create function zapline.may_claim(of_unit uuid, its_epoch bigint, its_journal uuid, stored bigint, last_message uuid,
                                  last_fence integer) returns boolean language sql stable as $$
    select (its_epoch is null or exists (select from zapline.leader l where l.epoch = its_epoch))
       and (stored = 0 or exists (select from zapline.unit_whatsapp_connections c
                                   where c.unit_id = of_unit and c.journal_id = its_journal and c.applied_seq >= stored))
       and not exists (select from zapline.outbox o where o.message_id = last_message and o.fence < last_fence)
$$;
