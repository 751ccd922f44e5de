// The texts of the page that can hardly be told from what is behind them: those with a contrast of
// less than 4.5 (WCAG 2.2, success criterion 1.4.3), with the contrast; and how many were looked at.
(() => {
  const parse = text => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return { r, g, b, a }; };
  const over = (top, below) => Object.fromEntries(
    [...'rgb'].map(it => [it, top[it] * top.a + below[it] * (1 - top.a)]).concat([['a', 1]]));
  // What a page without a colour of its own has behind it is not seen here.
  const behind = it => {
    if (!it) return { r: 255, g: 0, b: 255, a: 1 };
    const own = parse(getComputedStyle(it).backgroundColor);
    return own.a === 1 ? own : over(own, behind(it.parentElement ?? it.getRootNode().host));
  };
  const part = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const luminance = ({ r, g, b }) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const contrast = (element, pseudo) => {
    const back = behind(element);
    const both = [luminance(over(parse(getComputedStyle(element, pseudo).color), back)), luminance(back)];
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = new Set();
  let count = 0;
  const look = (what, element, pseudo) => {
    count += 1;
    const value = contrast(element, pseudo);
    if (!(value >= 4.5)) found.add(`${what}: ${value.toFixed(2)}`);
  };
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
    look(`${element.tagName}.${element.className} of ${element.parentElement.className}`, element);
  }
  look('placeholder', document.querySelector('#query'), '::placeholder');
  return { count, faint: [...found] };
})()
