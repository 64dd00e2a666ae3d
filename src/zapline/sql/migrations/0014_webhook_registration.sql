-- What is done about a webhook that somebody else has changed on the Evolution server: set it again, or only tell.
alter table zapline.units
    add column webhook_registration text not null default 'enforce'
        check (webhook_registration in ('enforce', 'observe'));
