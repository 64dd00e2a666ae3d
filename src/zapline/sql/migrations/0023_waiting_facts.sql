-- A message that comes again, or a reaction, under a LID that nothing has linked to its phone yet: it waits until it can be
-- told whether it is its author's, as parked reports do.

create table zapline.waiting_facts (
    unit_id     uuid not null references zapline.units,
    provider    text not null,
    external_id text not null,
    what        text not null check (what in ('message', 'reaction')),
    -- Of what it says: what comes twice waits once.
    digest      bytea not null,
    -- The row as the recorder would have stored it.
    said        jsonb not null,
    -- The journal's entries that said so.
    entries     text[] not null,
    received_at timestamptz not null,
    -- When it was last compared in vain with its message.
    tried_at    timestamptz not null default now(),
    primary key (unit_id, provider, external_id, what, digest)
);
create index waiting_facts_by_age on zapline.waiting_facts (received_at);
alter table zapline.waiting_facts enable row level security;
alter table zapline.waiting_facts force row level security;
create policy engine on zapline.waiting_facts to zapline_engine using (true) with check (true);
create policy api on zapline.waiting_facts to zapline_api using (
    unit_id = (select nullif(current_setting('zapline.unit', true), '')::uuid)
    or (select current_setting('zapline.scope', true)) = 'admin');
grant select, insert, update, delete on zapline.waiting_facts to zapline_engine;
grant select on zapline.waiting_facts to zapline_api;

-- Whether what waits is by whoever may say it of this message; null: that cannot be told yet.
create function zapline.proves(what text, said jsonb, unit uuid, conversation uuid, mine boolean, sender text)
    returns boolean language sql stable
return case what
    when 'message' then zapline.same_origin(unit, (said ->> 'conversation_id')::uuid, (said ->> 'from_me')::boolean,
                                            said ->> 'sender', conversation, mine, sender)
    else zapline.fits(said ->> 'claim', unit, conversation, mine, sender) end;

-- The journal's entries ("journal:number") that a report comes from, so that each makes one dead letter at most, also
-- where the journal is played again. Of very many the first: which they are does not depend on the order of merging.
create function zapline.some_entries(one text[], other text[]) returns text[] language sql immutable parallel safe
return array(select distinct e collate "C" from unnest(one || other) as e order by 1 limit 8);

alter table zapline.parked_reports add column entries text[] not null default '{}';
alter table zapline.message_reactions add column entries text[] not null default '{}';
