// @ts-check
/**
 * Text as it can be shown: characters that are not seen, or turn the direction of what follows, stand as codes, as on the rest of the page.
 * @param {unknown} text
 */
export function plain(text) {
  return String(text ?? '').replace(/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu, (c) => {
    const code = /** @type {number} */ (c.codePointAt(0));
    return code > 0xffff ? `\\U${code.toString(16).padStart(8, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}
