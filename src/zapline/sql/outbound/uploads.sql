-- Uploaded files that are to be sent.

-- name: insert_upload
-- Stores a file; one that exists already is not changed.
insert into zapline.uploads (id, unit_id, mimetype, file_name, size, sha256, bytes)
values (%(id)s, %(unit_id)s, %(mimetype)s, %(file_name)s, %(size)s, %(sha256)s, %(bytes)s)
on conflict (id) do nothing;

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
