-- PIN changes at the door firstvision-apac, for wrk: each thread goes through its part of the deck, there and back.
local counter = 0

function setup(thread)
   thread:set("number", counter)
   counter = counter + 1
end

function init(args)
   local file, count = args[1], tonumber(args[2])
   deck, at, back = {}, 0, false
   -- wrk tries the first thread's script once and sends nothing.
   tried = number ~= 0
   local line_number = 0
   for line in io.lines(file) do
      if line_number % count == number then
         local instrument, first, second = line:match("(%S+) (%S+) (%S+)")
         deck[#deck + 1] = { "/v1/cards/" .. instrument .. "/pinBlockChange", first, second }
      end
      line_number = line_number + 1
   end
   headers = { ["Authorization"] = "Bearer load", ["Content-Type"] = "application/json" }
end

function request()
   if tried then
      at = at + 1
   else
      tried = true
      return wrk.format("PUT", deck[1][1], headers, "{}")
   end
   if at > #deck then
      at, back = 1, not back
   end
   local card = deck[at]
   local current, new = card[2], card[3]
   if back then
      current, new = new, current
   end
   local body = '{"currentPinBlock":"' .. current .. '","requestedPinBlock":"' .. new ..
      '","pinOffset":0,"pinChannel":"A","keyAssociation":" "}'
   return wrk.format("PUT", card[1], headers, body)
end

function response(status)
   if status ~= 200 then
      wrong = (wrong or 0) + 1
      if wrong <= 3 then
         io.write("status ", status, "\n")
      end
   end
end
