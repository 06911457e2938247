// A keyboard can scroll only what can have the focus: wide tables and code, which the theme wraps after loading.
document$.subscribe(() => {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap, pre > code"))
    box.tabIndex = 0;
});
