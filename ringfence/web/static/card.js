// Helps with the card form; everything is checked by the server, and works without this.
const form = document.getElementById("card-form");
const field = (id) => document.getElementById(id);
const ascii = (text) => text.replace(/[\u0660-\u0669\u06f0-\u06f9]/g, (sign) => String(sign.charCodeAt(0) & 15));
const digits = (text) => ascii(text).replace(/[^0-9]/g, "");

const isLuhn = (number) => [...number].reverse().reduce((sum, sign, place) => {
  const value = Number(sign) * (place % 2 ? 2 : 1);
  return sum + (value > 9 ? value - 9 : value);
}, 0) % 10 === 0;

// The number in groups, as it stands on the card; the cursor stays behind the digit it was behind.
const number = field("number");
number.addEventListener("input", () => {
  const before = digits(number.value.slice(0, number.selectionStart)).length;
  const plain = digits(number.value).slice(0, 19);
  const groups = /^3[47]/.test(plain) ? /^(.{1,4})(.{1,6})?(.{1,5})?/ : /(.{4})(?=.)/g;
  number.value = /^3[47]/.test(plain) ? (plain.match(groups) || []).slice(1).filter(Boolean).join(" ") : plain.replace(groups, "$1 ");
  let place = 0;
  for (let seen = 0; seen < before && place < number.value.length; place += 1) if (number.value[place] !== " ") seen += 1;
  number.setSelectionRange(place, place);
});

const checks = {
  number: () => digits(number.value).length >= 12 && isLuhn(digits(number.value)),
  expiry: () => Number(digits(field("expiry").value)) >= 1 && Number(digits(field("expiry").value)) <= 12 && digits(field("year").value).length >= 2,
  code: () => /^[0-9]{3,4}$/.test(ascii(field("code").value)),
  holder: () => field("holder").value.trim() !== "",
};

const mark = (id, isRight) => {
  field(`${id}-error`).hidden = isRight;
  for (const input of id === "expiry" ? [field("expiry"), field("year")] : [field(id)]) {
    if (isRight) input.removeAttribute("aria-invalid"); else input.setAttribute("aria-invalid", "true");
  }
};

form.addEventListener("submit", (event) => {
  const isSaved = field("saved") && field("saved").checked;
  const wrong = (isSaved ? ["code"] : Object.keys(checks)).filter((id) => {
    const isRight = checks[id]();
    mark(id, isRight);
    return !isRight;
  });
  if (wrong.length) {
    event.preventDefault();
    field(wrong[0]).focus();
    return;
  }
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
  field("pay").setAttribute("aria-disabled", "true");
  field("sending").hidden = false;
});

// Shown again from the browser's memory: what was typed is gone, and the server says where things stand.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
