// What scrolls sideways can be reached by keyboard.
const reach = () => {
  for (const one of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset .output, .md-typeset pre > code")) {
    if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;
    else one.removeAttribute("tabindex");
  }
};
new MutationObserver(reach).observe(document.body, { childList: true, subtree: true });
addEventListener("resize", reach);
reach();
