// Texts that a page may be given by anybody: in prompts, errors, names of users.

export const MARKUP = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>"\'>&lt;b&gt;${window.owned=1}{{7*7}}'
export const RTL = 'ילדה מאכילה ברווזים ליד האגם — طفلة تطعم البط عند البحيرة (v2.1)'
export const OVERRIDE = 'invoice\u202Egpj.exe and \u2066isolated\u2069 text'
export const LONG_WORD = `Donaudampfschifffahrts${'elektrizitätenhauptbetriebswerkbauunterbeamten'.repeat(4)}gesellschaft`
export const EMOJI = '👩‍👩‍👧‍👦 🏳️‍🌈 dance in the rain ☔️ at 5 °C – Ærøskøbing, 東京, नमस्ते'
export const LONG = 'A slow pan over the harbour at dawn, gulls, ropes that creak, a fisherman who mends his net and does not look up. '.repeat(12).trim()
export const CONTROL = 'a tab\there, a line\nbreak, \u001b[31mred\u001b[0m, and a bell \u0007'
