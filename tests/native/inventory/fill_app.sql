-- The application's five tables, and one of our own with bytea. Variables: seed, rows, pictures, embedding_every, role.
-- Rows are consistent by construction, so foreign keys are not asked one by one; they are asked at the end, all at once.
SET LOCAL session_replication_role = replica;
SET LOCAL synchronous_commit = off;
SET LOCAL client_min_messages = warning;
SET LOCAL timezone = 'UTC';

-- It points to the items.
DROP SCHEMA IF EXISTS extra CASCADE;
DROP TABLE IF EXISTS public.attachments;
TRUNCATE public.items, public.images, public.categories, public.qr_aliases, public.text_content;

CREATE FUNCTION pg_temp.name_of(seed text, kind text, n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT md5(seed || ':' || kind || ':' || n)::uuid::text $$;
-- A number from 0 to 2^28 that looks like chance
CREATE FUNCTION pg_temp.dice(seed text, kind text, n bigint) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT ('x' || substr(md5(kind || seed || n), 1, 7))::bit(28)::int $$;

-- Words that break careless programs: other scripts, both forms of one letter, what means something to COPY, to psql, to CSV and to JSON
CREATE TEMP TABLE words ON COMMIT DROP AS
SELECT row_number() OVER () - 1 AS at, word FROM unnest(ARRAY[
    'Schraube M4 × 20', 'Größe ß ẞ', '工具箱', 'ящик с гвоздями', 'صندوق الأدوات', 'קופסה', 'กล่อง', 'उपकरण', '道具 ｶﾀｶﾅ',
    'wrench 🔧', 'family 👨‍👩‍👧‍👦', E'cafe\u0301', 'café', E'\u202Eright to left', E'zero\u200Bwidth', 'Ｆｕｌｌｗｉｄｔｈ', 'İıIi', 'Ωmega 𝔘𝔫𝔦𝔠𝔬𝔡𝔢',
    E'tab\there', E'two\nlines', E'carriage\r\nreturn', 'back\slash', '\N', '\.', 'quote''s "double" `tick`', '$1 $$ %s :name {{ x }}', 'NULL', 'a,b;c|d',
    ' leading and trailing ', '<script>&amp;', E'\u001b[31mred', 'Box', 'Cable, 3 m',
    'drawer', 'shelf', 'screwdriver', 'lamp', 'bag', 'hammer', 'rope', '']) AS word;
CREATE UNIQUE INDEX ON words (at);
SELECT count(*) AS words FROM words \gset

-- Pieces of embeddings, 48 numbers each; an embedding is eight of them
CREATE TEMP TABLE pieces ON COMMIT DROP AS
SELECT p AS n, string_agg(((pg_temp.dice(:'seed', 'piece', p * 48 + k) - 134217728) / 1500000000.0)::float8::text, ', ' ORDER BY k) AS piece
FROM generate_series(0, 255) p, generate_series(0, 47) k GROUP BY p;
CREATE UNIQUE INDEX ON pieces (n) INCLUDE (piece);

SELECT greatest(:rows * 40 / 100, 200) AS items, :rows * 22 / 100 AS texts, :rows * 23 / 100 AS categories, :rows * 13 / 100 AS aliases \gset
SELECT greatest(:rows - :items - :texts - :categories - :aliases - :pictures, 20) AS attachments \gset

ANALYZE words;
ANALYZE pieces;
INSERT INTO public.items (guid, item_name, description, source_url, created_date, updated_date, parent_guid, embedding_vector, label_number)
SELECT pg_temp.name_of(:'seed', 'item', n),
       CASE WHEN n % 97 = 0 THEN NULL ELSE left(a.word || ' ' || n, 255) END,
       CASE WHEN n % 11 = 0 THEN NULL WHEN n % 13 = 0 THEN '' ELSE a.word || E'\n' || b.word || ' — ' || md5(n::text) END,
       CASE WHEN n % 5 = 0 THEN 'https://example.test/thing?id=' || n || '&q=' || md5(n::text) END,
       timestamp '2019-03-31 01:30:00' + n * interval '97.000123 seconds',
       CASE WHEN n % 501 = 0 THEN NULL WHEN n % 777 = 0 THEN 'infinity'::timestamp ELSE timestamp '2024-02-29 23:59:59.999999' + n * interval '1 second' END,
       CASE WHEN n > 10 AND n % 7 <> 0 THEN pg_temp.name_of(:'seed', 'item', n / 10) END,
       CASE WHEN n % :embedding_every = 1 % :embedding_every THEN (SELECT '[' || string_agg(piece, ', ' ORDER BY place) || ']' FROM
            unnest(ARRAY[d, d / 256, d / 65536, n, n / 256, n * 31, d + n, d / 7 + n]) WITH ORDINALITY chosen (number, place)
            JOIN pieces p ON p.n = number % 256) END,
       CASE WHEN n % 3 <> 0 THEN n END
FROM (SELECT n, pg_temp.dice(:'seed', 'item', n) AS d FROM generate_series(1, :items) n) s
JOIN words a ON a.at = s.d % :words JOIN words b ON b.at = s.d / 64 % :words;

INSERT INTO public.images (id, item_guid, filename, image_data, thumbnail_data, preview_data, content_type, rotation_degrees, is_primary, upload_date,
                           description, ocr_text, ai_description, image_path, thumbnail_path, preview_path)
SELECT n, pg_temp.name_of(:'seed', 'item', 1 + (n - 1) * 37 % :items), 'IMG_' || n || ext, '', '', '',
       CASE lower(ext) WHEN '.png' THEN 'image/png' WHEN '.heic' THEN 'image/heic' WHEN '.tiff' THEN 'image/tiff' ELSE 'image/jpeg' END,
       (n % 4) * 90, n % 2 = 1, timestamp '2022-06-01' + n * interval '11 minutes',
       CASE WHEN n % 3 = 0 THEN w.word END, CASE WHEN n % 9 = 0 THEN E'TEXT\nIN PICTURE ' || n END, NULL,
       pg_temp.name_of(:'seed', 'original', n) || ext,
       pg_temp.name_of(:'seed', 'thumb', n) || '_thumb.webp', pg_temp.name_of(:'seed', 'preview', n) || '_preview.webp'
FROM (SELECT n, CASE WHEN n = 3 THEN '.tiff' ELSE (ARRAY['.jpg', '.png', '.jpeg', '.JPG', '.heic'])[1 + n % 5] END AS ext
      FROM generate_series(1, :pictures) n) s
JOIN words w ON w.at = s.n % :words;

INSERT INTO public.text_content (id, item_guid, content, content_type, created_date)
SELECT n, pg_temp.name_of(:'seed', 'item', 1 + n * 13::bigint % :items),
       w.word || E'\n' || repeat(w.word || ' ', n % 20),
       CASE WHEN n % 4 = 0 THEN NULL ELSE 'text' END,
       timestamp '2021-01-01' + n * interval '1 minute'
FROM generate_series(1, :texts) n JOIN words w ON w.at = n * 7 % :words;

-- Numbers with holes, as after years of deletions
INSERT INTO public.categories (id, item_guid, category_name, created_date)
SELECT n * 3, CASE WHEN n % 1000 = 0 THEN NULL ELSE pg_temp.name_of(:'seed', 'item', 1 + n * 17::bigint % :items) END,
       coalesce(nullif(w.word, ''), '-') || ' ' || n % 50,
       timestamp '2021-01-01' + n * interval '1 minute'
FROM generate_series(1, :categories) n JOIN words w ON w.at = n % :words;

INSERT INTO public.qr_aliases (id, qr_code, item_guid, created_date)
SELECT n, 'QR-' || upper(to_hex(n * 2654435761 % 4294967296)) || '-' || n, pg_temp.name_of(:'seed', 'item', 1 + n * 3::bigint % :items),
       timestamp '2023-01-01' + n * interval '1 second'
FROM generate_series(1, :aliases) n;

-- Ours: binary content, from nothing at all to what is stored out of line
CREATE TABLE public.attachments (
    id bigint PRIMARY KEY, item_guid varchar(36) REFERENCES public.items(guid) ON DELETE CASCADE, name text NOT NULL, content bytea, digest bytea NOT NULL,
    CHECK (octet_length(digest) = 32));
ALTER TABLE public.attachments OWNER TO :"role";
INSERT INTO public.attachments
SELECT n, pg_temp.name_of(:'seed', 'item', 1 + n * 19::bigint % :items), 'file ' || n, body, sha256(coalesce(body, ''))
FROM (SELECT n, CASE WHEN n % 50 = 0 THEN NULL WHEN n % 51 = 0 THEN ''::bytea
             WHEN n % 100 = 1 THEN (SELECT string_agg(sha256((:'seed' || n || ':' || k)::bytea), ''::bytea ORDER BY k)
                                                                                                FROM generate_series(1, 1 + n % 400) k)
                     ELSE decode('00ff0a0d5c' || md5(:'seed' || n), 'hex') END AS body FROM generate_series(1, :attachments) n) s;

SELECT setval('public.images_id_seq', :pictures + 5),
       setval('public.text_content_id_seq', :texts), setval('public.categories_id_seq', :categories * 3 + 1000, false),
       setval('public.qr_aliases_id_seq', :aliases), setval('public.label_number_seq', :items) \g /dev/null

-- HEAD notes which steps its tables have taken.
SELECT to_regclass('public._schema_version') IS NOT NULL AS head \gset
\if :head
TRUNCATE public._schema_version;
INSERT INTO public._schema_version SELECT n, 'step ' || n, timestamp '2025-10-01' + n * interval '1 day' FROM generate_series(1, 4) n;
\endif

DO $$
DECLARE broken bigint;
BEGIN
    SELECT (SELECT count(*) FROM public.items i WHERE parent_guid IS NOT NULL AND NOT EXISTS (SELECT FROM public.items p WHERE p.guid = i.parent_guid))
         + (SELECT count(*) FROM (SELECT item_guid FROM public.images
              UNION ALL SELECT item_guid FROM public.text_content UNION ALL SELECT item_guid FROM public.categories
              UNION ALL SELECT item_guid FROM public.qr_aliases UNION ALL SELECT item_guid FROM public.attachments) r
              WHERE item_guid IS NOT NULL AND NOT EXISTS (SELECT FROM public.items i WHERE i.guid = r.item_guid)) INTO broken;
    IF broken > 0 THEN RAISE EXCEPTION '% rows point to no item', broken; END IF;
END $$;
