-- What a migration may refuse, but not get wrong unseen. Variables: seed, rows, role. After fill_extra.sql, where --traps asks for it.
SET LOCAL synchronous_commit = off;
SET LOCAL client_min_messages = warning;
SET LOCAL timezone = 'UTC';
SET LOCAL ROLE :"role";
-- Binary COPY carries the number of a table, not its name: on another server that is another table, or none.
CREATE TABLE extra.points_to (id int PRIMARY KEY, what regclass, kind regtype);
INSERT INTO extra.points_to
SELECT n, CASE WHEN n % 2 = 0 THEN 'extra.kinds'::regclass ELSE 'extra.boxes'::regclass END, 'extra.state'::regtype FROM generate_series(1, 20) n;
-- Written with the currency of lc_monetary
CREATE TABLE extra.prices (id int PRIMARY KEY, price money);
INSERT INTO extra.prices SELECT n, (n * 1234.56)::numeric::money FROM generate_series(1, 20) n;
-- Different texts that are equal, so grouping and DISTINCT lose rows
CREATE COLLATION extra.no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE extra.caseless (word text COLLATE extra.no_case);
INSERT INTO extra.caseless VALUES ('Straße'), ('STRASSE'), ('strasse'), ('ABC'), ('abc'), ('Abc');
-- Rows of nothing
CREATE TABLE extra.nothing ();
INSERT INTO extra.nothing DEFAULT VALUES;
INSERT INTO extra.nothing DEFAULT VALUES;
INSERT INTO extra.nothing DEFAULT VALUES;
