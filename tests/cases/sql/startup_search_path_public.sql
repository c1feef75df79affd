-- Connect with options='-csearch_path=public'.
-- rows: 1
show search_path;
