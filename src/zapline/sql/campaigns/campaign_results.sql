-- What has become of the recipients of campaigns.

-- name: find_span
-- When a campaign began and ended, its wordings, and how many recipients it has.
select extract(epoch from coalesce(started_at, created_at))::float8 as start,
       extract(epoch from ended_at)::float8 as ended_at, extract(epoch from now())::float8 as now,
       wordings,
       (select coalesce(max(r.number), 0) from zapline.campaign_recipients r where r.campaign_id = campaigns.id) as last
  from zapline.campaigns
 where unit_id = %(unit_id)s and id = %(id)s;

-- name: count_outcomes
-- Counts of some of the recipients, in the order of the list, by wording, outcome and step of time. Where no time is known it is the campaign's start.
with outcomes as materialized (
    select (o.number - 1) %% %(wordings)s::int as wording, o.state, o.sent_at, o.delivered_at, o.read_at, o.replied_at,
           o.opted_out_at
      from zapline.recipient_outcomes(%(unit_id)s::uuid, %(id)s::uuid) o
     where o.number > %(after)s::int and o.number <= %(until)s::int
       and o.state in ('sent', 'delivered', 'read', 'undelivered')
)
select o.wording, e.outcome,
       greatest(0, floor((extract(epoch from e.at) - %(start)s::float8) / %(width)s::float8))::int as step,
       count(*)::int as recipients
  from outcomes o
 cross join lateral (values
       ('sent', true, o.sent_at),
       ('undelivered', o.state = 'undelivered', o.sent_at),
       ('delivered', o.state in ('delivered', 'read'), coalesce(o.delivered_at, o.sent_at)),
       ('read', o.state = 'read', coalesce(o.read_at, o.sent_at)),
       ('replied', o.replied_at is not null, o.replied_at),
       ('opted_out', o.opted_out_at is not null, o.opted_out_at)) e(outcome, is_so, at)
 where e.is_so
 group by 1, 2, 3;

-- name: list_outcomes
-- A page of a campaign's recipients in the order of the list, with what became of each.
select o.number, o.recipient, o.parameters, o.state, o.reason, o.detail, o.sent_at, o.delivered_at, o.read_at,
       o.replied_at, o.opted_out_at
  from zapline.recipient_outcomes(%(unit_id)s::uuid, %(campaign)s::uuid) o
 where o.number > %(after)s
 order by o.number
 limit %(limit)s;
