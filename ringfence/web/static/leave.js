// Leaves for the shop at once; without it the button does.
const leave = document.getElementById("leave");
if (leave instanceof HTMLFormElement) HTMLFormElement.prototype.submit.call(leave);
else if (leave) location.replace(leave.href);
