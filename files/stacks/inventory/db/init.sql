-- Runs once, as the owner of inventory_db, when the volume is empty. The application makes its own tables.
-- No version of it needs an extension; dumps of installations made by its deploy scripts name these two.
CREATE EXTENSION IF NOT EXISTS vector;
CREATE EXTENSION IF NOT EXISTS pg_trgm;
