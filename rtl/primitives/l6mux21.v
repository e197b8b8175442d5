// Behavioural model of the ECP5 multiplexer L6MUX21, which joins two PFUMX. For simulation only.
module L6MUX21(
  input D0,
  input D1,
  input SD,
  output Z
);
  assign Z = SD ? D1 : D0;
endmodule
