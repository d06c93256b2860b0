-- The interpreter ends with an error: message and traceback on standard error, exit status 1.
io.stderr:write("to stderr\n")
print("before")
local function deep(n) if n == 0 then error("deep trouble") end return (deep(n - 1)) end
deep(5)
