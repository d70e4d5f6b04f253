// The search has a name, and a table that scrolls is reached by keyboard.
document$.subscribe(() => {
  document.querySelector(".md-search").setAttribute("aria-label", "Search");
  requestAnimationFrame(() => {
    for (const table of document.querySelectorAll(".md-typeset__scrollwrap"))
      if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
  });
});
