-- Embeddings as vectors (pgvector), with an index that takes memory to build. Variables: seed, rows, role. After fill_extra.sql.
SET LOCAL synchronous_commit = off;
SET LOCAL client_min_messages = warning;
SET LOCAL timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS vector;
SET LOCAL ROLE :"role";
CREATE TABLE extra.embeddings (
    item varchar(36) PRIMARY KEY REFERENCES public.items(guid) ON DELETE CASCADE, embedding vector(384), half halfvec(3), few sparsevec(9));
INSERT INTO extra.embeddings
SELECT guid, embedding_vector::vector(384), '[1,2.5,-3]', '{1:1.5,9:-2}/9'
    FROM public.items WHERE embedding_vector IS NOT NULL ORDER BY guid LIMIT greatest(:rows / 100, 100);
INSERT INTO extra.embeddings SELECT guid FROM public.items WHERE embedding_vector IS NULL ORDER BY guid LIMIT 20;
CREATE INDEX embeddings_near ON extra.embeddings USING hnsw (embedding vector_cosine_ops) WITH (m = 8, ef_construction = 32);
