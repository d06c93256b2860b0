-- Measures a vector until its module has been replaced by version 2. Nothing here knows of that.
local vec = require "vec"
local v, length = vec.new(3, 4), nil
for round = 1, math.huge do
	length = length or v.length -- a function that was taken before
	local n, version = length(v)
	print(round, n, version, vec.state())
	if version == 2 then
		break
	end
	local stop = os.clock() + 0.02
	repeat until os.clock() > stop
end
