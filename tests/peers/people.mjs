// What a person does at the provider's form, without a screen.

export const atForm = (page) => new URL(page.url).pathname.startsWith('/interaction/');

/** Opens an address, fills the provider's form if it shows, and returns where that led. */
export async function signIn(browser, url, person, options) {
  const page = await browser.go(url, options);
  return atForm(page) ? answerForm(browser, page, person, options) : page;
}

export function answerForm(browser, page, { user, otp = '' }, options = {}) {
  return browser.go(page.url, { ...options, form: { login: user, password: `pw-${user}`, otp } });
}

export const alice = { user: 'alice' };
export const aliceWithCode = { user: 'alice', otp: '123456' };
export const bob = { user: 'bob' };
/** Has no second factor. */
export const nora = { user: 'nora' };
export const dora = { user: 'dora' };
