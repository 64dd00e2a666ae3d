-- In a transaction of its own: it reads all of the audit log, and meanwhile others read and write it.
alter table zapline.audit_log validate constraint audit_log_actor_kind_check;
