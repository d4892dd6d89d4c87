// @ts-check

/** An error of the API, in its own words. */
export class ApiError extends Error {
  /** @param {number} status @param {string} detail @param {string} request */
  constructor(status, detail, request) {
    super(detail);
    this.status = status;
    this.request = request;
  }
}

/**
 * Asks the API with the session of this page.
 * @param {string} path
 * @param {{ method?: string, body?: unknown, signal?: AbortSignal }} [options]
 * @returns {Promise<any>} what it answers; undefined where it answers nothing
 */
export async function api(path, { method = 'GET', body, signal } = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: 'application/json' };
  if (method !== 'GET') headers['Ambit-CSRF'] = document.querySelector('meta[name="csrf"]')?.getAttribute('content') ?? '';
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, credentials: 'same-origin', body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, 'Ambit does not answer. It may be restarting; try again in a moment.', '');
  }
  const text = await answer.text();
  let value;
  try {
    value = text ? JSON.parse(text) : undefined;
  } catch {
    value = undefined;
  }
  if (!answer.ok) {
    throw new ApiError(answer.status, value?.detail || value?.title || `Ambit answers ${answer.status}.`, value?.request_id ?? '');
  }
  return value;
}
