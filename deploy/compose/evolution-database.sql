create database evolution;
