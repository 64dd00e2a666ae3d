-- Whose rows a transaction of the API's role sees.

-- name: enter_unit
-- The transaction sees one unit's rows.
select set_config('zapline.unit', %(unit_id)s::text, true);

-- name: enter_admin
-- The transaction acts for an administrator and sees all units.
select set_config('zapline.scope', 'admin', true);
