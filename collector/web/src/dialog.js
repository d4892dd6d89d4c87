// @ts-check
/**
 * Opens dialogs by <button data-dialog="id"> and closes them by <button data-close>. Forms with data-confirm ask before they are sent, in a dialog of
 * their own words: data-confirm is the question, data-confirm-yes the word on the button.
 */
export function dialogs() {
  document.addEventListener('click', (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    const opener = target.closest?.('[data-dialog]');
    if (opener instanceof HTMLElement) {
      const dialog = document.getElementById(opener.dataset.dialog ?? '');
      if (dialog instanceof HTMLDialogElement) dialog.showModal();
    }
    target.closest?.('[data-close]')?.closest('dialog')?.close();
  });
  document.addEventListener('submit', async (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || !form.dataset.confirm) return;
    event.preventDefault();
    const submitter = event.submitter;
    if (!(await ask(form.dataset.confirm, form.dataset.confirmYes ?? 'Yes'))) return;
    const question = form.dataset.confirm;
    delete form.dataset.confirm;
    form.requestSubmit(submitter instanceof HTMLElement && submitter.form === form ? submitter : undefined);
    form.dataset.confirm = question;
  });
}

/**
 * Asks a question, and says whether the answer was yes.
 * @param {string} question
 * @param {string} yes word on the button
 * @returns {Promise<boolean>}
 */
export function ask(question, yes = 'Yes') {
  const dialog = document.createElement('dialog');
  const text = document.createElement('p');
  text.textContent = question;
  text.id = 'ask-text';
  dialog.setAttribute('aria-labelledby', text.id);
  const bar = document.createElement('div');
  bar.className = 'toolbar';
  const no = document.createElement('button');
  no.textContent = 'Cancel';
  const go = document.createElement('button');
  go.textContent = yes;
  go.className = 'primary';
  bar.append(no, go);
  dialog.append(text, bar);
  document.body.append(dialog);
  return new Promise((resolve) => {
    let said = false;
    no.addEventListener('click', () => dialog.close());
    go.addEventListener('click', () => {
      said = true;
      dialog.close();
    });
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(said);
    });
    dialog.showModal();
  });
}
