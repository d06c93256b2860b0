-- io and os over the root file system.
local name = os.tmpname()
local f = assert(io.open(name, "w"))
print(io.type(f), f:write("first line\n", 42, " ", 3.5, "\nthird\n\nlast without newline") == f, f:close(), io.type(f))
for line in io.lines(name) do print("<" .. line .. ">") end
for line in io.lines(name, "L") do io.write("[", line, "]") end
print()
f = assert(io.open(name))
print(f:read("l", "n", "n", "l", "L", "l", "a", "a", "l"))
print(f:seek("set", 6), f:read(4), f:seek("cur"), f:seek("end"), f:read(1), f:read(0), f:seek("set", 0), f:read(0))
f:close()
f = assert(io.open(name, "a+"))
f:write("\nappended")
f:seek("set")
print(#f:read("a"))
f:close()
f = assert(io.open(name, "r+"))
f:write("FIRST")
f:seek("end", -8)
print(f:read("a"))
f:seek("set")
print(f:read())
f:close()
print(pcall(io.lines, "/no/such/file"))
print(io.open("/no/such/file"))
print(io.open(name, "r"):close(), pcall(io.open, name, "badmode"))
print(pcall(f.read, f))

-- a large file, read back in pieces of every kind
f = assert(io.open(name, "wb"))
f:setvbuf("full", 4096)
local sum = 0
for i = 1, 20000 do f:write(string.format("%08d\n", i)) sum = sum + i end
f:close()
local n, total = 0, 0
for a in io.lines(name, "n") do n, total = n + 1, total + a end
print(n, total == sum)
f = io.open(name, "rb")
local size = 0
while true do local block = f:read(4097) if not block then break end size = size + #block end
print(size, f:seek("set", 9 * 12345), f:read("l"))
f:close()

local renamed = name .. ".renamed"
print(os.rename(name, renamed), io.open(name), (select(2, os.rename(name, renamed)):gsub(".*: ", "")))
print(os.remove(renamed), (select(2, os.remove(renamed)):gsub(".*: ", "")))
io.output():write("written\n")
io.stdout:setvbuf("no")
io.write("unbuffered ", "ok\n")
print(io.output() == io.stdout, io.input() == io.stdin, tostring(io.stdout):match("^file %("))
local t = io.tmpfile()
t:write(("z"):rep(100000))
t:seek("set")
print(#t:read("a"))
t:close()

print(os.time { year = 2000, month = 1, day = 1, hour = 12 } - os.time { year = 1999, month = 12, day = 31, hour = 12 })
print(os.date("!%Y-%m-%d %H:%M:%S", 0), os.date("!%A %B %j %p", 86400 * 200), os.date("!*t", 1e9).year)
print(os.time { year = 2024, month = 2, day = 30, hour = 0 } == os.time { year = 2024, month = 3, day = 1, hour = 0 })
print(pcall(os.date, "%Ez", 0), os.getenv("NO_SUCH_VARIABLE"), os.clock() >= 0, os.time() > 1600000000, os.difftime(5, 3))
print(os.setlocale(), os.setlocale("C"))
os.exit(true, true)
