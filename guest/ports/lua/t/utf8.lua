-- UTF-8: the library, patterns over bytes, malformed input.
local s = "Ünïcödé – 日本語 🎉"
print(#s, utf8.len(s), utf8.codepoint(s, 1), utf8.char(0x48, 0x20ac, 0x10ffff, 0x1f389))
for p, c in utf8.codes(s) do io.write(p, ":", string.format("U+%04X", c), " ") end
print()
print(utf8.offset(s, 3), utf8.offset(s, -1), s:sub(utf8.offset(s, -1)), utf8.offset("abc", 5))
for ch in s:gmatch(utf8.charpattern) do io.write("[", ch, "]") end
print()
print(utf8.len("\xff"), utf8.len("abc\xE4"), utf8.len("\u{7FFFFFFF}"), utf8.len("\u{7FFFFFFF}", 1, -1, true))
print(utf8.len("\xed\xa0\x80"), utf8.len("\xc0\x80"), utf8.len(""), pcall(utf8.codepoint, "\x80"))
print(pcall(function() for _ in utf8.codes("ab\xffcd") do end end))
print(utf8.len("日本語", 4), pcall(utf8.len, "日本語", 5 + 10), utf8.codepoint("日本語", 1, -1))
local out = {}
for i = 0x20, 0x2fff, 37 do out[#out + 1] = utf8.char(i) end
local all = table.concat(out)
local back = {}
for _, c in utf8.codes(all) do back[#back + 1] = c end
print(#all, #out, back[1], back[#back], utf8.len(all) == #out)
print(("日本語"):upper() == "日本語", ("ÀÉ"):lower() == "ÀÉ", ("naïve"):reverse():len(), ("é"):byte(1, -1))
