import {
  DataTypes,
  literal,
  type Model,
  type ModelAttributeColumnOptions,
  type ModelStatic,
  type Sequelize,
} from 'sequelize';

/** What `create` needs: the columns that have neither a default nor NULL; the rest may be left out. */
export type NewRow<Row extends object, Required extends keyof Row> = Partial<Row> & Pick<Row, Required>;

/** An instance has its row's columns as properties. */
export type RowModel<Row extends object, Required extends keyof Row> = Model<Row, NewRow<Row, Required>> &
  Row;

export type TableModel<Row extends object, Required extends keyof Row> = ModelStatic<RowModel<Row, Required>>;

/** One entry for each column of the row type, or it does not compile. */
export type Columns<Row extends object> = { [column in keyof Row]-?: ModelAttributeColumnOptions };

/**
 * A model that belongs to this connection alone: tests open several databases in one process, and a class that is
 * initialised twice would talk to the last one. Sequelize's own timestamps are off, the database keeps them
 * (migrations/0001-identity.ts).
 */
export function defineModel<Row extends object, Required extends keyof Row>(
  sequelize: Sequelize,
  modelName: string,
  tableName: string,
  columns: Columns<Row>,
): TableModel<Row, Required> {
  return sequelize.define<RowModel<Row, Required>, Row>(modelName, columns, { tableName, timestamps: false });
}

type Type = ModelAttributeColumnOptions['type'];
type Default = string | number | boolean | object;

/** A column that may be NULL. */
export function optional(type: Type): ModelAttributeColumnOptions {
  return { type, allowNull: true };
}

/** A NOT NULL column; without `defaultValue` the writer must give it. */
export function required(type: Type, defaultValue?: Default): ModelAttributeColumnOptions {
  return defaultValue === undefined ? { type, allowNull: false } : { type, allowNull: false, defaultValue };
}

export function primaryKey(type: Type, defaultValue?: Default): ModelAttributeColumnOptions {
  return { ...required(type, defaultValue), primaryKey: true };
}

/** A default that the database makes. */
export function randomUuid() {
  return literal('gen_random_uuid()');
}

export function generatedId(): ModelAttributeColumnOptions {
  return primaryKey(DataTypes.UUID, randomUuid());
}

/** Set to the database's now() when the row is made. */
export function timeOfBirth(): ModelAttributeColumnOptions {
  return required(DataTypes.DATE, literal('now()'));
}
