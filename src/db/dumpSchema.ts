import type { Database } from './connect.js';
import { rows } from './sql.js';

interface Named {
  /** The table it belongs to. */
  relation: string;
  definition: string;
}

interface Table {
  relation: string;
  /** ` PARTITION BY …`, or nothing. */
  partitioning: string;
  columns: string[];
  constraints: string[];
  has_default_partition: boolean;
}

/**
 * The live schema as SQL that makes it again, in an order that does not depend on how it came about, so that a
 * migration's effect shows as a small difference. Read from the catalog, since pg_dump writes each version differently.
 * Left out: the migrator's own table, and the day partitions, which come and go.
 */
export async function dumpSchema(db: Database): Promise<string> {
  const [functions, tables, foreignKeys, indexes, triggers, comments] = await Promise.all([
    rows<Named>(db, FUNCTIONS),
    rows<Table>(db, TABLES),
    rows<Named>(db, FOREIGN_KEYS),
    rows<Named>(db, INDEXES),
    rows<Named>(db, TRIGGERS),
    rows<Named>(db, COMMENTS),
  ]);
  const sections = [
    ...functions.map(({ definition }) => `${definition.trim()};`),
    ...tables.map(table => {
      const own = (of: Named) => of.relation === table.relation;
      return [
        createTable(table),
        ...indexes.filter(own).map(index => `${index.definition};`),
        ...triggers.filter(own).map(trigger => `${trigger.definition};`),
        ...comments.filter(own).map(comment => comment.definition),
      ].join('\n');
    }),
    foreignKeys.map(key => `ALTER TABLE ${key.relation} ADD ${key.definition};`).join('\n'),
  ];
  return sections
    .filter(section => section !== '')
    .map(section => `${section}\n`)
    .join('\n');
}

function createTable({ relation, columns, constraints, partitioning, has_default_partition }: Table): string {
  const lines = [...columns, ...constraints].map(line => `  ${line}`).join(',\n');
  const table = `CREATE TABLE ${relation} (\n${lines}\n)${partitioning};`;
  if (!has_default_partition) return table;
  return `${table}\nCREATE TABLE ${relation}_default PARTITION OF ${relation} DEFAULT;`;
}

/** Tables, and not the partitions of one. */
const OURS = `c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relname <> 'schema_migrations'`;

const FUNCTIONS = `
  SELECT proname AS relation, pg_get_functiondef(oid) AS definition
  FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY proname`;

const TABLES = `
  SELECT c.relname AS relation,
    CASE c.relkind WHEN 'p' THEN ' PARTITION BY ' || pg_get_partkeydef(c.oid) ELSE '' END AS partitioning,
    to_regclass(c.relname || '_default') IS NOT NULL AS has_default_partition,
    (SELECT array_agg(
       quote_ident(a.attname) || ' ' ||
       CASE WHEN pg_get_serial_sequence(c.relname, a.attname) IS NOT NULL THEN 'bigserial'
         ELSE format_type(a.atttypid, a.atttypmod) || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '') END ||
       CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END ORDER BY a.attnum)
     FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
    ARRAY(SELECT 'CONSTRAINT ' || conname || ' ' || pg_get_constraintdef(oid)
     FROM pg_constraint WHERE conrelid = c.oid AND contype IN ('p', 'u', 'c')
     ORDER BY array_position('{p,u,c}', contype::text), conname) AS constraints
  FROM pg_class c WHERE ${OURS} ORDER BY c.relname`;

const FOREIGN_KEYS = `
  SELECT c.relname AS relation, 'CONSTRAINT ' || conname || ' ' || pg_get_constraintdef(k.oid) AS definition
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
  WHERE contype = 'f' AND ${OURS} ORDER BY c.relname, conname`;

/** Those of constraints come with these. */
const INDEXES = `
  SELECT c.relname AS relation,
    replace(replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON '), ' ON public.', ' ON ') AS definition
  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
  WHERE ${OURS} AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u'))
  ORDER BY c.relname, x.relname`;

const TRIGGERS = `
  SELECT c.relname AS relation, replace(pg_get_triggerdef(t.oid), ' ON public.', ' ON ') AS definition
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
  WHERE NOT t.tgisinternal AND ${OURS} ORDER BY c.relname, t.tgname`;

const COMMENTS = `
  SELECT c.relname AS relation,
    format('COMMENT ON COLUMN %I.%I IS %L;', c.relname, a.attname, d.description) AS definition
  FROM pg_description d
  JOIN pg_class c ON c.oid = d.objoid AND d.classoid = 'pg_class'::regclass
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid
  WHERE d.objsubid > 0 AND ${OURS} ORDER BY c.relname, a.attnum`;
