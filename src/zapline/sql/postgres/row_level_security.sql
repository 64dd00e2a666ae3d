-- Which rows a transaction of the API's role sees.

-- name: set_unit
-- The transaction sees the rows of one unit.
select set_config('zapline.unit', %(unit_id)s::text, true);

-- name: set_admin_scope
-- The transaction acts for an administrator and sees the rows of all units.
select set_config('zapline.scope', 'admin', true);
