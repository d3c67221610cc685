// What the clients in C++ share: payloads as hexadecimal digits, and lines as words.

#pragma once

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

inline std::string hex(const std::string& bytes) {
    std::string digits;
    for (unsigned char byte : bytes) {
        digits += "0123456789abcdef"[byte >> 4];
        digits += "0123456789abcdef"[byte & 15];
    }
    return digits;
}

inline std::string unhex(const std::string& digits) {
    std::string bytes;
    for (size_t at = 0; at < digits.size(); at += 2) bytes += static_cast<char>(std::stoi(digits.substr(at, 2), nullptr, 16));
    return bytes;
}

inline std::string without_spaces(std::string word) {
    word.erase(std::remove(word.begin(), word.end(), ' '), word.end());
    return word;
}

/// One line in one write: two threads may say something.
template <typename... Words>
void say(const std::string& first, const Words&... others) {
    std::string line = first;
    ((line += " " + std::string(others)), ...);
    std::cout << line + "\n" << std::flush;
}

/// The words of the next line; none at the end of the input.
inline std::vector<std::string> next_line() {
    std::string line;
    std::vector<std::string> words;
    if (!std::getline(std::cin, line)) return words;
    size_t begin = 0, end;
    while ((end = line.find(' ', begin)) != std::string::npos) {
        words.push_back(line.substr(begin, end - begin));
        begin = end + 1;
    }
    words.push_back(line.substr(begin));
    return words;
}
