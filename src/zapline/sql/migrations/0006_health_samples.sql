-- How the four rates of the health verdict were, minute by minute, for the console's charts. Nothing of any unit.

create table zapline.health_samples (
    at                     timestamptz primary key,
    verdict                text not null check (verdict in ('pass', 'warn', 'fail')),
    webhook_error_rate     float8 not null,
    unknown_instances      float8 not null,
    dedupe_rate            float8 not null,
    unexpected_disconnects float8 not null
);
alter table zapline.health_samples enable row level security;
alter table zapline.health_samples force row level security;
create policy engine on zapline.health_samples to zapline_engine using (true) with check (true);
create policy api on zapline.health_samples for select to zapline_api
    using (current_setting('zapline.scope', true) = 'admin');
grant select, insert, delete on zapline.health_samples to zapline_engine;
grant select on zapline.health_samples to zapline_api;
