-- How units' lines are to behave.

-- name: load_line_settings
-- A unit's settings. No row: it says nothing.
select reject_calls, call_text, ignore_groups, always_online, mark_read, sync_history, settings_managed,
       proxy_managed, sealed_proxy, version, applied_version
  from zapline.line_settings where unit_id = %(unit_id)s;

-- name: store_line_settings
-- Replaces a unit's settings.
insert into zapline.line_settings as s (unit_id, reject_calls, call_text, ignore_groups, always_online, mark_read,
                                        sync_history, settings_managed)
values (%(unit_id)s, %(reject_calls)s, %(call_text)s, %(ignore_groups)s, %(always_online)s, %(mark_read)s,
        %(sync_history)s, true)
on conflict (unit_id) do update
   set reject_calls = excluded.reject_calls, call_text = excluded.call_text, ignore_groups = excluded.ignore_groups,
       always_online = excluded.always_online, mark_read = excluded.mark_read, sync_history = excluded.sync_history, settings_managed = true,
       version = s.version + 1, changed_at = now();

-- name: store_proxy
-- Replaces a unit's proxy. Its other settings stay as they are.
insert into zapline.line_settings as s (unit_id, proxy_managed, sealed_proxy)
values (%(unit_id)s, true, %(sealed)s)
on conflict (unit_id) do update
   set proxy_managed = true, sealed_proxy = excluded.sealed_proxy, version = s.version + 1, changed_at = now();

-- name: note_applied
-- Evolution has had this version.
update zapline.line_settings set applied_version = greatest(applied_version, %(version)s)
 where unit_id = %(unit_id)s;
