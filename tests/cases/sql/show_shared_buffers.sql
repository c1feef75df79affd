-- A setting of the server that tuning tools look at.
-- rows: 1
show shared_buffers;
