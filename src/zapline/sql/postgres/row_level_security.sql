-- Which rows a transaction of the API's role sees.

-- name: set_unit
-- The transaction sees the rows of one unit. Its role is set anew: behind a pooler the session may have another's.
-- Each statement is planned for its values: below a policy a plan for all values reads a hundred times as much.
select set_config('zapline.unit', %(unit_id)s::text, true) as unit,
       set_config('role', coalesce(%(role)s::text, current_setting('role')), true) as role,
       set_config('plan_cache_mode', 'force_custom_plan', true) as plans;

-- name: set_organization
-- The transaction sees an organization, and of its units these; of its hooks those that are told of `chosen` alone.
select set_config('zapline.organization', %(organization_id)s::text, true) as organization,
       set_config('zapline.units', %(units)s::uuid[]::text, true) as units,
       set_config('zapline.chosen', coalesce(%(chosen)s::uuid[]::text, 'all'), true) as chosen,
       set_config('role', coalesce(%(role)s::text, current_setting('role')), true) as role,
       set_config('plan_cache_mode', 'force_custom_plan', true) as plans;

-- name: set_admin_scope
-- The transaction acts for an administrator and sees the rows of all units.
select set_config('zapline.scope', 'admin', true) as scope,
       set_config('role', coalesce(%(role)s::text, current_setting('role')), true) as role,
       set_config('plan_cache_mode', 'force_custom_plan', true) as plans;

-- name: set_seen
-- The transaction acts for a person and sees the rows of these units.
select set_config('zapline.seen', %(units)s::uuid[]::text, true) as seen,
       set_config('role', coalesce(%(role)s::text, current_setting('role')), true) as role,
       set_config('plan_cache_mode', 'force_custom_plan', true) as plans;

-- name: set_engine
-- The transaction sees the rows of all units as the engine does, and its statements name theirs.
select set_config('role', 'zapline_engine', true) as role,
       set_config('plan_cache_mode', 'force_custom_plan', true) as plans;
