import Joi from 'joi';

const hex = (digits: number) =>
  Joi.string()
    .hex()
    .length(digits)
    .custom((text: string) => text.toLowerCase());
export const md5Hex = () => hex(32);
export const sha1Hex = () => hex(40);
export const sha256Hex = () => hex(64);
