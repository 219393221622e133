// Hands the payer over to the wallet: by the wallet's own script where it is there, else by the form, which is also what works without any.
const form = document.getElementById("hand-over");
if (form instanceof HTMLFormElement) {
  const value = (name) => form.elements.namedItem(name).value;
  const handOver = () => {
    const pay = window.amazon && window.amazon.Pay;
    if (!pay) return false;
    pay.initCheckout({
      merchantId: value("merchantId"), publicKeyId: value("publicKeyId"), ledgerCurrency: value("ledgerCurrency"), sandbox: value("sandbox") === "true",
      checkoutLanguage: value("checkoutLanguage"), productType: value("productType"), placement: "Checkout",
      checkoutSessionId: value("checkoutSessionId") || undefined,
      createCheckoutSessionConfig: { payloadJSON: value("payloadJSON"), signature: value("signature"), algorithm: value("algorithm") },
    });
    return true;
  };
  form.addEventListener("submit", (event) => {
    if (handOver() || !form.dataset.entry) event.preventDefault();
  });
  if (form.dataset.byItself === "yes") addEventListener("load", () => {
    if (!handOver() && form.dataset.entry) HTMLFormElement.prototype.submit.call(form);
  });
}
