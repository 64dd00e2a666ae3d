-- The ids of contacts and conversations are derived from what was unique besides. With two unique indexes PostgreSQL can
-- refuse one of two transactions that insert the same row at once, although both say "on conflict (id)": it awaits
-- rows that meet in the named index only, and another index may see them first.

alter table zapline.contacts drop constraint contacts_unit_id_canonical_key;
create index contacts_by_canonical on zapline.contacts (unit_id, canonical);

alter table zapline.conversations drop constraint conversations_unit_id_contact_id_key;
