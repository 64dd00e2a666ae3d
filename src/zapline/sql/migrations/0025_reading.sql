-- A search by name or phone looks through all contacts of a unit: through this index alone, without their rows.
create index contacts_by_words on zapline.contacts (unit_id) include (id, plain_name, phone, username);
