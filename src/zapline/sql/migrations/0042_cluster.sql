-- Several processes that share the units. Those of a node are known by the name of its sessions, so that whoever takes
-- its units can end them: a transaction of a process that stands still would hold their rows.
alter table zapline.nodes add column sessions text not null default '';
-- It shares the units with others; else it is alone, and owns them all.
alter table zapline.nodes add column shares boolean not null default false;
-- It hands its units over, and takes none.
alter table zapline.nodes add column leaving boolean not null default false;
