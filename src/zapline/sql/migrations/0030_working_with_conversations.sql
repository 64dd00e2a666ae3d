-- Conversations to work with: messages found by their words, edits and deletions that are asked of WhatsApp.

-- A text as people search for it: small letters without accents, in whatever form they came. (By the collation "C", which
-- every database has: an index must not depend on another server's idea of letters.)
create function zapline.plain_text(said text) returns text
    language sql immutable strict parallel safe
return case when octet_length(said) = length(said) then lower(said collate "C")
            else translate(lower(regexp_replace(normalize(said, nfkd), '[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u065f\u0670]+', '', 'g')
                                 collate "C"),
                           'АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯІЄҐЂЈЉЊЋЏΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩςØøŁłĐđÐÞÆŒıß',
                           'абвгдежзиклмнопрстуфхцчшщъыьэюяієґђјљњћџαβγδεζηθικλμνξοπρστυφχψωσoollddðþæœis') end;

-- The words of a text, each behind one blank: of its first 65,536 characters, which is what WhatsApp takes; of each word
-- its first 40. Letters and digits make words; signs and emoji part them.
create function zapline.plain_words(said text) returns text
    language sql immutable strict parallel safe
return regexp_replace(
    regexp_replace(' ' || zapline.plain_text(left(said, 65536)),
                   '[^0-9a-z\u00df-\u00f6\u00f8-\u1fff\u2c00-\u2dff\u3040-\ud7ff\uf900-\ufaff\ufb1d-\ufdff\ufe70-\ufefc]+',
                   ' ', 'g'),
    '([^ ]{40})[^ ]+', '\1', 'g');

-- What stands before a word in the index: its unit, and the 16,384 places in the order of arrival among which the message
-- is. So a search reads what its own unit has, the newest first, and never more of it than such a part, however often a word
-- was said. (sql/conversations/message_search.py writes the same.)
create function zapline.words_of(unit uuid, seq bigint) returns text
    language sql immutable strict parallel safe
return left(unit::text, 8) || ':' || to_hex(seq >> 14) || ':';

-- What a message is found by: its text as it reads now, and the name of its file.
create function zapline.message_words(unit uuid, seq bigint, kind text, body text, edited_body text, edited_at_ms bigint,
                                      deleted_at timestamptz, media jsonb) returns tsvector
    language sql immutable parallel safe
return case when deleted_at is null and kind <> 'reaction' then
    array_to_tsvector(array_remove(array_remove(string_to_array(
        replace(zapline.plain_words(coalesce(case when edited_at_ms is null then body else edited_body end, '') || ' '
                                    || coalesce(media ->> 'fileName', '')),
                ' ', ' ' || zapline.words_of(unit, seq)), ' '), ''), zapline.words_of(unit, seq))) end;

create index messages_by_words on zapline.messages using gin (
    zapline.message_words(unit_id, seq, kind, body, edited_body, edited_at_ms, deleted_at, media))
    -- Nothing is put off: each look-up would read the whole of what was.
    with (fastupdate = off);

-- An edit, or a deletion for everyone, of a message of ours, as it was asked for: one call at most is under way for a
-- message. What became of it is read from the message itself; this row says that it was asked, and whether it is certain.
create table zapline.message_changes (
    id         uuid primary key,
    unit_id    uuid not null references zapline.units,
    message_id uuid not null references zapline.messages on delete cascade,
    kind       text not null check (kind in ('edit', 'delete')),
    -- The new text, for as long as it is not known whether the message has it.
    text       text,
    -- calling: Evolution was asked, or is about to be. uncertain: it has not answered. unknown: nobody could tell, also not
    -- its store.
    state      text not null default 'calling' check (state in ('calling', 'uncertain', 'unknown', 'done', 'failed')),
    asked_at   timestamptz not null,
    ended_at   timestamptz,
    failure    text,
    looks      smallint not null default 0,
    -- When the store is asked next. A call that has no end by then was the last thing that a process did.
    look_at    timestamptz
);
create unique index message_changes_open on zapline.message_changes (message_id) where state in ('calling', 'uncertain');
create index message_changes_by_message on zapline.message_changes (message_id, asked_at desc, id desc);
create index message_changes_due on zapline.message_changes (look_at) where state in ('calling', 'uncertain');

alter table zapline.message_changes enable row level security;
alter table zapline.message_changes force row level security;
create policy engine on zapline.message_changes to zapline_engine using (true) with check (true);
create policy api on zapline.message_changes to zapline_api using (
    unit_id = (select nullif(current_setting('zapline.unit', true), '')::uuid)
    or (select current_setting('zapline.scope', true)) = 'admin');
grant select, insert, update, delete on zapline.message_changes to zapline_engine;
grant select on zapline.message_changes to zapline_api;
