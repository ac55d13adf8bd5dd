import Joi from 'joi';

/** What a server's jar is called in its folder, whatever its upstream calls it. */
export const SERVER_JAR = 'server.jar';

const hex = (digits: number) =>
  Joi.string()
    .hex()
    .length(digits)
    .custom((text: string) => text.toLowerCase());
export const md5Hex = () => hex(32);
export const sha1Hex = () => hex(40);
export const sha256Hex = () => hex(64);
