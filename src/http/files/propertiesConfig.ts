import { isConfigList, type ConfigValue } from '#src/domain/configValue.js';
import { changeProperties, readProperties } from '#src/domain/serverProperties.js';
import { invalidField } from '../parse.js';
import type { ConfigFormat } from './configFormat.js';

/** Any file in the format of java.util.Properties, with the bytes of the file as latin1. All values are texts. */
export const propertiesConfig: ConfigFormat = {
  read: text => readProperties(text),
  change(text, change) {
    if (isConfigList(change)) throw invalidField('body', 'A .properties file holds keys, not a list');
    const changes = Object.entries(change).map(([key, value]): [string, string | null] => [
      key,
      value === null ? null : textOf(key, value),
    ]);
    return changeProperties(text, Object.fromEntries(changes));
  },
};

function textOf(key: string, value: ConfigValue): string {
  if (typeof value === 'object')
    throw invalidField(`body.${key}`, `${key} can be a text, number or boolean here`);
  return String(value);
}
