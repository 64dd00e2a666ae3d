-- Uploaded files that are to be sent.

-- name: insert_upload
-- Stores a file within the quota of its unit; one that exists already is not changed. Whether the unit has it now.
with kept as (
    select coalesce(sum(size), 0) as bytes, count(*) as files from zapline.uploads where unit_id = %(unit_id)s
), stored as (
    insert into zapline.uploads (id, unit_id, mimetype, file_name, size, sha256, bytes)
    select %(id)s, %(unit_id)s, %(mimetype)s, %(file_name)s, %(size)s, %(sha256)s, %(bytes)s from kept
     where kept.bytes + %(size)s <= %(quota)s and kept.files < %(most_files)s
    on conflict (id) do nothing
    returning id
)
select exists (select from stored)
       or exists (select from zapline.uploads where unit_id = %(unit_id)s and id = %(id)s) as kept;

-- name: find_upload
-- The description of a file, without its bytes.
select mimetype, file_name, size, sha256 from zapline.uploads where unit_id = %(unit_id)s and id = %(id)s;

-- name: load_upload_bytes
-- The bytes of a file.
select bytes from zapline.uploads where id = %(id)s;

-- name: prune_uploads
-- Deletes files older than 30 days that no open message and no open campaign will send.
delete from zapline.uploads u
 where u.created_at < now() - interval '30 days'
   and not exists (select from zapline.outbox o
                    where o.unit_id = u.unit_id and o.state in ('queued', 'leased', 'uncertain')
                      and o.content -> 'content' ->> 'upload' = u.id::text)
   and not exists (select from zapline.campaigns c
                    where c.unit_id = u.unit_id and c.state not in ('cancelled', 'done')
                      and c.content -> 'content' ->> 'upload' = u.id::text);

-- name: free_unneeded
-- Deletes a unit's files older than a day that no message or campaign will send or may be told to send again.
delete from zapline.uploads u
 where u.unit_id = %(unit_id)s and u.created_at < now() - interval '1 day'
   and not exists (select from zapline.outbox o
                    where o.unit_id = u.unit_id and o.state not in ('settled', 'cancelled')
                      and o.content -> 'content' ->> 'upload' = u.id::text)
   and not exists (select from zapline.campaigns c
                    where c.unit_id = u.unit_id and c.state not in ('cancelled', 'done')
                      and c.content -> 'content' ->> 'upload' = u.id::text);
