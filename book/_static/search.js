// Search excerpts show prose: code, printed output and tables are left out of the text that they are cut from.
document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  const toText = Search.htmlToText;
  Search.htmlToText = (html, anchor) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    page.querySelectorAll("div.cell_input, details.hide, p.download, div.cell_output :is(pre, table)").forEach((element) => element.remove());
    return toText(page.documentElement.outerHTML, anchor).replace(/\s+/g, " ");
  };
});
