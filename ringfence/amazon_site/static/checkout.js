// Stands in for Amazon's browser script: amazon.Pay.initCheckout hands the buyer over by a form, to the site that this script came from.
(() => {
  const site = new URL(document.currentScript.src).origin;
  const initCheckout = (config) => {
    const { payloadJSON, signature, algorithm } = config.createCheckoutSessionConfig;
    const fields = {
      payloadJSON, signature, algorithm: algorithm || "AMZN-PAY-RSASSA-PSS", publicKeyId: config.publicKeyId, merchantId: config.merchantId,
      checkoutLanguage: config.checkoutLanguage, productType: config.productType, ledgerCurrency: config.ledgerCurrency, sandbox: config.sandbox,
      checkoutSessionId: config.checkoutSessionId,
    };
    const form = document.createElement("form");
    form.method = "post";
    form.action = `${site}/amazon/checkout`;
    form.acceptCharset = "utf-8";
    for (const [name, value] of Object.entries(fields)) {
      if (value === undefined || value === null) continue;
      const input = document.createElement("input");
      input.type = "hidden";
      input.name = name;
      input.value = value;
      form.append(input);
    }
    (document.body || document.documentElement).append(form);       // a page may call this before it has a body
    form.submit();
  };
  window.amazon = { ...window.amazon, Pay: { initCheckout } };
  if (typeof window.onAmazonPayReady === "function") window.onAmazonPayReady();
})();
