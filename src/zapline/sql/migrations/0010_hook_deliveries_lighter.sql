-- A delivery's unit is that of its hook, which refers to it. To look at the unit again for each row was a third of what
-- the recorder's transaction paid for a delivery.
alter table zapline.hook_deliveries drop constraint hook_deliveries_unit_id_fkey;
